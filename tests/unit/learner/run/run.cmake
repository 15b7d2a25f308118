# The learner process around its step, and the client of its Parameters.
foreach(module publisher checkpoint reward_sums candidates)
  hindcast_test(${module}_test SOURCES unit/learner/run/${module}_test.c
                LINK hindcast_learner_run hindcast_test_base hindcast_test_trajectory)
endforeach()
hindcast_test(learner_options_test SOURCES unit/learner/run/options_test.c
              LINK hindcast_learner_run hindcast_test_base hindcast_test_trajectory)
hindcast_test(prioritizer_test SOURCES unit/learner/run/prioritizer_test.c
              LINK hindcast_learner_run hindcast_test_replay hindcast_test_learning TIMEOUT 120)

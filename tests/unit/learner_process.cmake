# The learner process around its numeric core, and the client of its Parameters.
hindcast_test(parameters_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/parameters_test.c
              LINK hindcast_learner_process hindcast_test_base)
hindcast_test(checkpoint_test
              SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/checkpoint_test.c
              LINK hindcast_learner_process hindcast_test_base hindcast_test_trajectory)

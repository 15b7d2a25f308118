# evaluator/, module by module.
foreach(module stop_rule statistics history policy_file measurement)
  hindcast_test(${module}_test SOURCES unit/evaluator/${module}_test.c
                LINK hindcast_evaluator_core hindcast_test_base hindcast_test_trajectory hindcast_test_policies hindcast_test_environments)
endforeach()

# The program itself, against a Parameters service in the test.
hindcast_test(evaluator_process_test SOURCES unit/evaluator/evaluator_process_test.c
              LINK hindcast_evaluator_core hindcast_learner_run hindcast_test_base hindcast_test_policies
              ARGS $<TARGET_FILE:hindcast-evaluator> TIMEOUT 180)
add_dependencies(evaluator_process_test hindcast-evaluator)

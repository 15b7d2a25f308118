# Environments: unit tests, and the control suite against what dm_control recorded.
foreach(module random_state numpy_sums tolerance simulation varied_model environment control_suite_task sawyer)
  hindcast_test(${module}_test SOURCES unit/common/environments/${module}_test.c
                LINK hindcast_environments hindcast_test_base hindcast_test_environments)
endforeach()

# Goes through several episodes of every task.
hindcast_test(reset_state_test SOURCES unit/common/environments/reset_state_test.c TIMEOUT 180
              LINK hindcast_environments hindcast_test_base)

hindcast_binary(verify_tasks FOLDER tests SOURCES verify_tasks.c verify_sawyer.c LINK hindcast_environments)
add_test(NAME verify_tasks COMMAND verify_tasks ${CMAKE_SOURCE_DIR}/tests/golden/control_suite)
add_test(NAME verify_sawyer COMMAND verify_tasks ${CMAKE_SOURCE_DIR}/tests/golden/sawyer)
set_tests_properties(verify_tasks verify_sawyer PROPERTIES TIMEOUT 60)
hindcast_test(verify_tasks_test SOURCES unit/common/environments/verify_tasks_test.c LINK hindcast_base hindcast_test_base TIMEOUT 120
  ARGS $<TARGET_FILE:verify_tasks> ${CMAKE_SOURCE_DIR}/tests/golden/control_suite/hopper-hop_b.bin
       ${CMAKE_SOURCE_DIR}/tests/golden/control_suite/finger-turn_easy_starts.bin
       ${CMAKE_SOURCE_DIR}/tests/golden/sawyer/sawyer_c.bin)
add_dependencies(verify_tasks_test verify_tasks)

# The example of docs/own_task.md: in a unit test, and in a collector of its own.
hindcast_own_tasks(example experiments/own_task/ball_plate.c)
hindcast_test(own_task_test SOURCES unit/common/environments/own_task_test.c ${example}
              LINK hindcast_environments hindcast_test_base)
hindcast_binary(own_task_collector FOLDER tests SOURCES ${CMAKE_SOURCE_DIR}/collector/main.c ${example}
                LINK hindcast_collector_core hindcast_robot)
hindcast_test(unstable_physics_test SOURCES unit/common/environments/unstable_physics_test.c ${example}
              LINK hindcast_collector_core hindcast_evaluator_core hindcast_test_policies hindcast_test_environments)

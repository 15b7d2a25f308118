# Environments: unit tests, and the control suite against what dm_control recorded.
foreach(module random_state tolerance environment reset_state control_suite_task)
  hindcast_test(${module}_test SOURCES unit/common/environments/${module}_test.c
                LINK hindcast_environments hindcast_test_base hindcast_test_environments)
endforeach()

hindcast_binary(verify_tasks FOLDER tests SOURCES verify_tasks.c LINK hindcast_environments)
add_test(NAME verify_tasks COMMAND verify_tasks ${CMAKE_SOURCE_DIR}/tests/golden/control_suite)
set_tests_properties(verify_tasks PROPERTIES TIMEOUT 60)
hindcast_test(verify_tasks_test SOURCES unit/common/environments/verify_tasks_test.c LINK hindcast_base hindcast_test_base
  ARGS $<TARGET_FILE:verify_tasks> ${CMAKE_SOURCE_DIR}/tests/golden/control_suite/hopper-hop_b.bin)
add_dependencies(verify_tasks_test verify_tasks)

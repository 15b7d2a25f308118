# Environments: unit tests, and the control suite against what dm_control recorded.
hindcast_test(random_state_test SOURCES unit/random_state_test.c LINK hindcast_environments)
hindcast_test(tolerance_test SOURCES unit/tolerance_test.c LINK hindcast_environments)
hindcast_test(environment_test SOURCES unit/environment_test.c LINK hindcast_environments hindcast_test_base)

hindcast_binary(verify_tasks FOLDER tests SOURCES verify_tasks.c LINK hindcast_environments)
if(TARGET verify_tasks)
  add_test(NAME verify_tasks COMMAND verify_tasks ${CMAKE_SOURCE_DIR}/tests/golden/control_suite)
  set_tests_properties(verify_tasks PROPERTIES TIMEOUT 60)
endif()
hindcast_test(verify_tasks_test SOURCES unit/verify_tasks_test.c LINK hindcast_base hindcast_test_base
  ARGS $<TARGET_FILE:verify_tasks> ${CMAKE_SOURCE_DIR}/tests/golden/control_suite/hopper-hop_b.bin)
if(TARGET verify_tasks_test)
  add_dependencies(verify_tasks_test verify_tasks)
endif()

# evaluator/, module by module.
foreach(module stop_rule statistics history policy_file measurement)
  hindcast_test(${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/${module}_test.c
                LINK hindcast_evaluator_core hindcast_test_base hindcast_test_trajectory hindcast_test_policies)
endforeach()

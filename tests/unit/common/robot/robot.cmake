# common/robot/, module by module.
foreach(module robot_clock robot_driver robot_journal robot_limits robot_wire)
  hindcast_test(${module}_test SOURCES unit/common/robot/${module}_test.c
                LINK hindcast_robot_service hindcast_robot hindcast_test_base)
endforeach()

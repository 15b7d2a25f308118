# collector/, module by module.
foreach(module order returns_file log_store crew)
  hindcast_test(${module}_test SOURCES unit/collector/${module}_test.c
                LINK hindcast_collector_core hindcast_test_base hindcast_test_trajectory)
endforeach()

# collector/, module by module.
foreach(module options reorder_buffer returns_file worker_pool)
  hindcast_test(${module}_test SOURCES unit/collector/${module}_test.c
                LINK hindcast_collector_core hindcast_test_base hindcast_test_trajectory hindcast_test_environments)
endforeach()

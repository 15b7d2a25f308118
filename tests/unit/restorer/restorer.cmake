# restorer/, module by module.
foreach(module plan prefetch)
  hindcast_test(${module}_test SOURCES unit/restorer/${module}_test.c
                LINK hindcast_restorer_core hindcast_test_base hindcast_test_trajectory)
endforeach()

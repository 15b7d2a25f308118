# common/base/, module by module.
foreach(module cores cpu_check installation status log memory text utf8 rng noise queue elements event_file file line_file json json_view thread_pool config experiment metrics progress admin process)
  hindcast_test(${module}_test SOURCES unit/common/base/${module}_test.c
                LINK hindcast_base hindcast_test_base)
endforeach()

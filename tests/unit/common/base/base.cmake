# common/base/, module by module.
foreach(module cores cpu_check installation status log memory text utf8 rng noise queue elements event_file file line_file json json_view thread_pool config experiment metrics progress tokens roles admin process)
  hindcast_test(${module}_test SOURCES unit/common/base/${module}_test.c
                LINK hindcast_base hindcast_test_base)
endforeach()
hindcast_test(peek_test SOURCES unit/common/base/peek_test.c LINK hindcast_base hindcast_echo hindcast_test_base)

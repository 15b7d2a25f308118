# replay_server/service/, module by module.
foreach(module client served_table replay_rates)
  hindcast_test(${module}_test SOURCES unit/replay_server/service/${module}_test.c
                LINK hindcast_test_replay TIMEOUT 120)
endforeach()

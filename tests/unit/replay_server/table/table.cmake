# replay_server/table/, module by module.
foreach(module slot_map sum_tree selector table table_clients table_eviction limiter writers)
  hindcast_test(${module}_test SOURCES unit/replay_server/table/${module}_test.c
                LINK hindcast_test_replay TIMEOUT 120)
endforeach()

# replay_server/store/, module by module.
foreach(module store store_compact store_record inserter gatherer buffer_pool writeback)
  hindcast_test(${module}_test SOURCES unit/replay_server/store/${module}_test.c
                LINK hindcast_test_replay TIMEOUT 120)
endforeach()

# replay_server/lmdb/, module by module.
foreach(module lmdb_check)
  hindcast_test(${module}_test SOURCES unit/replay_server/lmdb/${module}_test.c
                LINK hindcast_test_replay)
endforeach()

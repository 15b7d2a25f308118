# common/clients/, module by module.
foreach(module replay_ring replay_clients replay_priorities)
  hindcast_test(${module}_test SOURCES unit/common/clients/${module}_test.c
                LINK hindcast_clients hindcast_test_replay TIMEOUT 120)
endforeach()

# common/rpc, over sockets, with the echo service of tests/lib.
foreach(module address call message server security connections descriptors)
  hindcast_test(rpc_${module}_test SOURCES unit/common/rpc/${module}_test.c LINK hindcast_echo hindcast_test_base TIMEOUT 120)
endforeach()

add_subdirectory(lib/echo)
hindcast_test(rpc_test SOURCES unit/rpc_test.c LINK hindcast_echo TIMEOUT 120)

add_subdirectory(lib/echo)
hindcast_test(rpc_test SOURCES unit/rpc_test.c LINK hindcast_echo TIMEOUT 120)
hindcast_test(rpc_message_test SOURCES unit/rpc_message_test.c LINK hindcast_echo)
hindcast_test(rpc_server_test SOURCES unit/rpc_server_test.c LINK hindcast_echo TIMEOUT 120)

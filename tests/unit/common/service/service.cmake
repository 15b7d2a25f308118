# common/service: the endpoint, over sockets.
hindcast_test(endpoint_test SOURCES unit/common/service/endpoint_test.c LINK hindcast_service hindcast_echo hindcast_test_base)

# common/service: the endpoint, over sockets, and the roles.
hindcast_test(roles_test SOURCES unit/common/service/roles_test.c LINK hindcast_service hindcast_test_base)
hindcast_test(endpoint_test SOURCES unit/common/service/endpoint_test.c LINK hindcast_service hindcast_echo hindcast_test_base)

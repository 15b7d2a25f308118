# Several learners: the group's core, and the exchange itself over sockets, with the real step.
hindcast_test(group_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/group_test.c LINK hindcast_learner_process hindcast_test_base)
hindcast_test(exchange_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/exchange_test.c
              LINK hindcast_learner_process hindcast_test_learning hindcast_test_base TIMEOUT 180)

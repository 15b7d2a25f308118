# Several learners: the group's core, and the exchange itself over sockets, with the real step.
hindcast_test(group_test SOURCES unit/learner/exchange/group_test.c LINK hindcast_learner_exchange hindcast_test_base)
hindcast_test(exchange_test SOURCES unit/learner/exchange/exchange_test.c
              LINK hindcast_learner_run hindcast_test_learning hindcast_test_base TIMEOUT 180)

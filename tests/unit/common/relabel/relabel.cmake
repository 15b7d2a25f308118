hindcast_test(relabel_test SOURCES unit/common/relabel/relabel_test.c
              LINK hindcast_relabel hindcast_test_base hindcast_test_trajectory)

hindcast_test(series_test SOURCES unit/common/dashboard/series_test.c LINK hindcast_dashboard hindcast_test_base)

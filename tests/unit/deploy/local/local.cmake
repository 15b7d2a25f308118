# deploy/local: the supervisor's rules, making smaller datasets, gathering a run's summary.
foreach(module restart start_experiment subsample summary)
  hindcast_test(local_${module}_test SOURCES unit/deploy/local/${module}_test.c
                LINK hindcast_local_core hindcast_test_base hindcast_test_trajectory)
endforeach()

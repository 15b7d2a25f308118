# offline_evaluator/, module by module.
foreach(module fitted_q logged_data estimates resample)
  hindcast_test(${module}_test SOURCES unit/offline_evaluator/${module}_test.c
                LINK hindcast_offline_evaluator_core hindcast_test_base)
endforeach()

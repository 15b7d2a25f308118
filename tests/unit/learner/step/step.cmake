# The learner step against reference cases: the tool, and a run over the cases in golden/.
hindcast_binary(verify_algorithms FOLDER tests SOURCES verify_algorithms.c LINK hindcast_learner_step)
foreach(kernels best avx2 plain amx-x2-emulated)
  add_test(NAME verify_algorithms_${kernels}
           COMMAND verify_algorithms ${CMAKE_SOURCE_DIR}/tests/golden/algorithms --kernels=${kernels})
  set_tests_properties(verify_algorithms_${kernels} PROPERTIES TIMEOUT 120)
endforeach()

foreach(module settings task_snippets batch state update operators)
  hindcast_test(step_${module}_test SOURCES unit/learner/step/${module}_test.c
                LINK hindcast_test_learning hindcast_test_base TIMEOUT 300)
endforeach()

# The learner step against reference cases: the tool, and a run over the cases in golden/.
hindcast_binary(verify_algorithms FOLDER tests
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/../verify_algorithms.c
  LINK hindcast_learner_core hindcast_networks)
foreach(kernels best avx2 plain)
  add_test(NAME verify_algorithms_${kernels}
           COMMAND verify_algorithms ${CMAKE_SOURCE_DIR}/tests/golden/algorithms --kernels=${kernels})
  set_tests_properties(verify_algorithms_${kernels} PROPERTIES TIMEOUT 120)
endforeach()


hindcast_library(hindcast_test_learning SOURCES ${CMAKE_SOURCE_DIR}/tests/lib/learning.c LINK hindcast_learner_core)
foreach(module settings team units batch state update operators)
  hindcast_test(learner_${module}_test SOURCES ${CMAKE_SOURCE_DIR}/tests/unit/learner_${module}_test.c
                LINK hindcast_test_learning hindcast_test_base TIMEOUT 120)
endforeach()

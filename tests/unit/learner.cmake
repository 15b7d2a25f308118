# The learner step against reference cases: the tool, and a run over the cases in golden/.
hindcast_binary(verify_algorithms FOLDER tests
  SOURCES ${CMAKE_CURRENT_LIST_DIR}/../verify_algorithms.c
  LINK hindcast_learner_core hindcast_networks)

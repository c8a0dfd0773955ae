#include "apps/cli_support.h"

int main(int argc, char** argv) {
  return vg::apps::run_cli(argc, argv);
}

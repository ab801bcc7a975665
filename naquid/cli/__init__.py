"""The command line. Each command is a module with `add(commands)`, which describes it to argparse, and `run(options)`,
which does the work and returns the exit code; what is heavy is imported in `run`."""

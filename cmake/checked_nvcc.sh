#!/bin/sh
# Runs the CUDA compiler and fails when ptxas says that it serialised matrix instructions (C7507 to C7519), which it
# treats as mere information and which costs half the speed of a kernel.
log=$("$@" 2>&1)
status=$?
[ -n "$log" ] && printf '%s\n' "$log" >&2
if printf '%s\n' "$log" | grep -qE 'C75(0[7-9]|1[0-9])'; then
  echo "error: ptxas has serialised matrix instructions; see the message above" >&2
  exit 1
fi
exit $status

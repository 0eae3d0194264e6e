#!/bin/bash
# Workers of the shared database as an array of Slurm jobs, one worker each:
#   sbatch --array=0-15 deploy/slurm.sh                      (they take what is to be done in open studies)
#   sbatch --array=0-15 deploy/slurm.sh --study mnist-tpe    (arguments go to lrsearch worker)
#SBATCH --job-name=lrsearch
#SBATCH --array=0-3
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# With a GPU each: sbatch --gpus-per-task=1 ...
# Two minutes before the time is up, a worker is told to end its epoch and give its trials back.
#SBATCH --signal=B:TERM@120
set -euo pipefail

# The URL needs no password where ~/.pgpass has it (chmod 600); it is never an argument, which others can read.
: "${LRSEARCH_STORAGE:?set it to the storage URL, for example in a file that ~/.bashrc reads}"
# Data sets and checkpoints: a folder that all nodes share lets another node continue a trial.
export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache}
export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}

# A job that is started again is another worker: the old one's name may count as alive for a while.
name="slurm-${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}-${SLURM_ARRAY_TASK_ID:-0}-${SLURM_RESTART_COUNT:-0}"

# From the first moment on: a signal that comes before the worker's number is known is passed on after it.
worker='' early=''
tell() { kill -TERM "$worker" 2> /dev/null || true; }
trap 'if [ -n "$worker" ]; then tell; else early=yes; fi' TERM INT
lrsearch worker --name "$name" "$@" &
worker=$!
if [ -n "$early" ]; then tell; fi

# A signal ends the waiting, not the worker.
code=0
wait "$worker" || code=$?
while kill -0 "$worker" 2> /dev/null; do
  code=0
  wait "$worker" || code=$?
done
exit "$code"

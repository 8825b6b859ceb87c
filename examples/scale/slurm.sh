#!/bin/bash
# Records of a large validation set in 16 parts, as an array: sbatch examples/scale/slurm.sh MODEL DATA
# A task whose node is lost is made again (--requeue). When all are done:
#   dyn-perceiver records merge part.* -o all.csv
#SBATCH --job-name=dyn-perceiver-records
#SBATCH --array=1-16
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --requeue
set -euo pipefail
exec dyn-perceiver records collect "$1" --data "$2" --shard "$SLURM_ARRAY_TASK_ID/16" --jobs 1 -o "part.$SLURM_ARRAY_TASK_ID"

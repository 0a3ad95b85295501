#!/bin/bash
# Training under SLURM: sbatch docs/training/slurm.sh run.toml. srun itself starts one process for each GPU, since torchrun
# would kill them 30 s after SIGTERM, however long the state takes to be saved.
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR MASTER_PORT=${MASTER_PORT:-29500} WORLD_SIZE=$SLURM_NTASKS
srun bash -c 'RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID exec python -m imagdressing_core.training train "$0"' "$1"
status=$?
if [ $status = 143 ]; then # its time is over and its state saved: the job goes on from it in its next turn
	scontrol requeue "$SLURM_JOB_ID"
fi
exit $status

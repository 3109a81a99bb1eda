"""Start a command elsewhere: on several devices of this machine, in the background, or as a job of a Slurm cluster.

Our own thin use of submitit, not Hydra's plugin for it: the plugin pickles the task function with Hydra's whole state, runs it in
the job's own process (where torchrun cannot be told of a signal), needs `-m` even for one training, and waits for the jobs' end.
Here a job is a command line. It runs in a process group of its own, is told to save its state when Slurm wants the machine back,
and is put into the queue again.
"""

"""How fast trials train: a tutorial's loop, ordinary PyTorch, and lrsearch's trainers, side by side.

Run it with: python -m benchmarks.training --markdown docs/training-benchmark.md

The nets are those of the tasks of these names, batches have 32 examples, validation is left out, and the
optimizer is SGD: with lr 0.1, or with lr 0.01 and momentum 0.9. All contestants take turns in short rounds of
one run, because a machine's speed changes from minute to minute; a contestant's figure is the median of its
rounds. "P x T" means P processes of T threads: they begin a round together, and their rates are added.
"ms per trial-step" is the time of one of these processes, and a trial-epoch has 1,562 steps.

"Over PyTorch" is over PyTorch on resident tensors with the same momentum in one process per core; on a GPU
over the only process.

The tutorial's loop has a DataLoader over images that are converted one by one, and asks for every batch's
loss. "PyTorch on resident tensors" takes its batches with index_select from images that are prepared already.
In lockstep all lanes stand at one epoch and share their batches; at mixed epochs they are spread evenly over
the epochs of a run of 10. The generic path is the fused trainer by vmap where it has something faster.

`lrsearch optimize` trains a shipped study as a user runs it; then bare arrays, one in each of as many
processes, train the same trials for as many epochs, validation included in both: without a sampler, a pruner
and a database. Only this part needs more than PyTorch, NumPy and psutil.

The floor of arithmetic is forward pass and gradients of all layers, but not the gradient by the images, at
the rate of a product of two float32 matrices of 2048 x 2048 on every core at once in the same run. On a GPU
the floor of memory is to read every parameter twice and to write it once, at the rate of a copy of 1 GiB.
"""

"""A real forward pass of a roberta-base with random weights: no download, no framework."""

import time

import minroberta

HELLO_WORLD = [[0, 31414, 232, 328, 2]]  # <s>, Hello, world, !, </s>: (B, L) = (1, 5)

model = minroberta.init("roberta-base")
start = time.perf_counter()
trace = minroberta.trace(model, input_ids=HELLO_WORLD)
milliseconds = (time.perf_counter() - start) * 1000

print(model)
print(f"{len(trace)} named values in {milliseconds:.0f} ms, on the way from ids to logits:\n")
names = list(trace)
for name in [*names[:25], ..., *names[-6:]]:
    print("  ..." if name is ... else f"  {name:<46} {trace[name].dtype!s:<8} {trace[name].shape}")

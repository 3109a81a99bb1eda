"""The least that trains: a for loop."""

from training.problem import Problem, loss, optimizer


def run(problem: Problem) -> float:
    """Steps a second, without record and progress."""
    network = problem.network()
    chosen = optimizer(network)
    for step in range(problem.steps):
        images, classes = problem.batch(step)
        loss(network(images), classes).backward()
        chosen.step()
        chosen.zero_grad(set_to_none=True)
    return network.rate(problem.warm)

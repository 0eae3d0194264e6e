"""All that a test of the pages does otherwise than a page says, and why.

What stands in none of these tables runs literally. A test fails where an entry has lost its page or its line.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Replaced:
    """A piece of a page that does not run as it stands.

    Args:
        page: path from the root.
        text: a piece of one of its blocks.
        instead: what runs in its place; a comment where nothing does. ``{mnist}`` is a folder with MNIST,
            ``{postgresql}`` the URL of an empty database on a server of ours.
        why: the reason.
    """

    page: str
    text: str
    instead: str
    why: str


REPLACED = (
    Replaced(
        "README.md",
        ". .venv/bin/activate                                   # where make search has put lrsearch",
        "# in the environment of the tests",
        "the tests run in it",
    ),
    Replaced(
        "docs/tutorial.md",
        "lrsearch optimize recipe.toml",
        "lrsearch optimize recipe.toml --epochs 3 --data-dir {mnist}",
        "fewer epochs, on the files that are there",
    ),
    Replaced(
        "docs/tutorial.md",
        "--plot range-test.svg",
        "--plot range-test.svg --steps 60 --data-dir {mnist}",
        "fewer steps, on the files that are there",
    ),
    Replaced(
        "docs/tutorial.md",
        "--trials 40 --epochs 5",
        "--trials 4 --epochs 1 --data-dir {mnist}",
        "a smaller budget, on the files that are there",
    ),
    Replaced(
        "docs/tutorial.md",
        "--rivals --seeds 20 --top 3",
        "--seeds 4 --top 1 --data-dir {mnist}",
        "fewer seeds and no rivals, on the files that are there",
    ),
    Replaced(
        "docs/tutorial.md",
        "lrsearch confirm recipe --seeds 20 --top 2",
        "lrsearch confirm recipe --seeds 4 --top 1 --data-dir {mnist}",
        "fewer seeds, on the files that are there",
    ),
    Replaced(
        "docs/tutorial.md",
        "lrsearch train mnist-mlp --output trained ",
        "lrsearch train mnist-mlp --output trained --data-dir {mnist} ",
        "on the files that are there",
    ),
    Replaced(
        "docs/tutorial.md",
        "lrsearch export mnist-mlp -o winner.py ",
        "lrsearch export mnist-mlp -o winner.py --data-dir {mnist} ",
        "on the files that are there",
    ),
    Replaced(
        "docs/distributed.md",
        "export LRSEARCH_STORAGE=postgresql://user:password@host:5432/database",
        "# no server",
        "the page itself goes on in the SQLite file that is the default",
    ),
    Replaced(
        "docs/distributed.md",
        "export LRSEARCH_STORAGE=postgresql://...          # on each machine, before: ray start\n"
        "lrsearch optimize mnist-tpe --engine ray --address auto --workers 8 --gpus-per-worker 0.5",
        "# no cluster",
        "no cluster and no GPU; tests/service has tests of a cluster on this machine",
    ),
    Replaced(
        "docs/database.md",
        "postgresql://me@db.example/studies",
        "{postgresql}",
        "a server of our own in place of the example's",
    ),
)

# What this suite cannot run, by the first words of a line.
NOT_RUN = {
    "make": "it builds the environment that the tests run in; test_links.py looks for the target",
    "python -m pip": "it would change the environment that the tests run in",
    "docker": "no container runtime; tests/test_deployment.py parses the commands of lrsearch in it",
    "mkdir -m 700 deploy/secrets": "prepares what docker needs",
    "openssl": "prepares what docker needs",
    "chmod 644 deploy/secrets/postgres_password": "prepares what docker needs",
    "kubectl": "no cluster; tests/test_deployment.py parses the commands of lrsearch in it",
    "sbatch": "no Slurm; tests/test_deployment.py runs the script with a program that stands in",
    "ssh": "no second machine",
}

# Commands that run until Ctrl-C, by a piece of their line: how they are run to an end.
ENDLESS = {"lrsearch dashboard": "serves; it is started, its page is fetched, and it is stopped"}

# What must not share a process with other tests, by a piece of the command line.
OWN_PROCESS = {"--engine ray": "Ray's client can be started once in a process"}

# Ends of a process that are not the page's fault, by a piece of what it wrote.
ABORTS = {
    "terminate called without an active exception": "PyTorch's store aborts now and then as a process leaves"
}

# Blocks in languages that other tests run.
RUN_ELSEWHERE = {"docs/database.md sql": "tests/cli/test_roles.py makes both roles"}

# Pages whose blocks take longer than a few seconds; their tests run after the others.
SLOW = {
    "docs/confirmation.md": "trains every candidate on six seeds",
    "docs/dashboard.md": "starts two servers",
    "docs/database.md": "copies between SQLite and PostgreSQL",
    "docs/distributed.md": "starts a Ray cluster",
    "docs/examples.md": "starts a process for each trial",
    "docs/five-minute-start.md": "searches and confirms",
    "docs/from-optuna.md": "starts a process for each step",
    "docs/export.md": "trains three exported modules",
    "docs/lightning.md": "starts a process for each search",
    "docs/report.md": "trains four studies",
    "docs/samplers-and-pruners.md": "trains two studies",
    "docs/training-scripts.md": "starts a process for each trial",
    "docs/tutorial.md": "trains on MNIST",
    "docs/transformers.md": "starts a process for each search",
}

# Files that a page supposes in the folder where it runs, beside those of a clone.
SUPPOSED = {
    "docs/operations.md": {
        "script.toml": 'task = "external"\ntrials = 1\nepochs = 1\n',
        "train.py": (
            "import os\n"
            "with open(os.environ['LRSEARCH_REPORT_FILE'], 'a') as reports:\n"
            '    print(\'{"epoch": 1, "valid_loss": 0.5}\', file=reports)\n'
        ),
    },
}

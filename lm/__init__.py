"""Text and codes as one language: vocabulary, documents, prior, sampler, rate."""

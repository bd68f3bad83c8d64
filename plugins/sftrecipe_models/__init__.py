"""Chat models: any OpenAI-compatible server (`openai`), a local model (`transformers`), canned replies (`script`)."""

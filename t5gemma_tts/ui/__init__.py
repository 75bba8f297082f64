"""The web page, for one machine or a Hugging Face Space.

`speaking`, `long_texts` and `pictures` know nothing of Gradio; `app` is the page on them, `running` puts it on the air.
"""

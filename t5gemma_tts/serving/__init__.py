"""Speech synthesis for concurrent requests, shared by the HTTP server, the web page and Ray Serve.

`speaker` and `synthesis` know nothing of HTTP; `app` is the OpenAI-compatible server on them.
"""

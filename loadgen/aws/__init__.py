"""AWS: create and delete an Event API as one stack, use it as a target, and fetch its CloudWatch metrics.

All calls to AWS's control plane are in this package, except the look-up of API keys (`loadgen.credentials.sources`).
boto3 is an extra (`pip install 'fanout-loadgen[aws]'`) and is imported only where it is used.
"""

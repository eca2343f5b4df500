"""AWS: create and delete an Event API as one stack, use it as a target, and fetch its CloudWatch metrics.

All calls to AWS's control plane are in this package, except the look-up of API keys (`loadgen.credentials.sources`).
boto3 and botocore are the extra `aws` (`analysis.extras`) and are imported only where they are used.
"""

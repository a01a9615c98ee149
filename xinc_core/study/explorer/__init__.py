"""study/explorer"""

"""study/answers"""

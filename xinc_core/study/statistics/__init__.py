"""study/statistics"""
